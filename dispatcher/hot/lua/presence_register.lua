-- A device takes its line: the newest session wins.
-- KEYS[1] user tag. ARGV: device, value. A value: session|node|line|foreground|since. Reply: the value before, '' for
--   none.
local key = KEYS[1] .. 'on'
local before = redis.call('HGET', key, ARGV[1]) or ''
redis.call('HSET', key, ARGV[1], ARGV[2])
redis.call('EXPIRE', key, 691200)
return before
