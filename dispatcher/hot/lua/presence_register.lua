-- Devices take their lines: the newest session wins.
-- KEYS: a user tag each. ARGV: device, value each. A value: session|node|line|foreground|since.
-- Reply: the values before, '' for none.
local call = redis.call
local out = {}
for i = 1, #KEYS do
  local key, device = KEYS[i] .. 'on', ARGV[2 * i - 1]
  out[i] = call('HGET', key, device) or ''
  call('HSET', key, device, ARGV[2 * i])
  call('EXPIRE', key, 691200)
end
return out
