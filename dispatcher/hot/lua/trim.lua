-- Drops the oldest entries of a list, once: a call that is repeated finds another first entry and drops nothing.
-- KEYS[1] list. ARGV: count, the first entry. Reply: 1 dropped, 0 not.
if redis.call('LINDEX', KEYS[1], 0) ~= ARGV[2] then return 0 end
redis.call('LTRIM', KEYS[1], tonumber(ARGV[1]), -1)
return 1
