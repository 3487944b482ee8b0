-- Generic cell rate algorithm. KEYS[1] the meter. ARGV: limit, window (ms), now (ms), cost.
-- Reply: 0 where allowed, else milliseconds until it may be asked again.
local limit, window, now, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local each = window / limit
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) + each * cost
local wait = full_at - window - now
if wait > 0 then return math.ceil(wait) end
redis.call('SET', KEYS[1], string.format('%.3f', full_at), 'PX', math.ceil(full_at - now) + 1)
return 0
