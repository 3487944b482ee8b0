-- Brakes a key; an older brake is only ever prolonged, and one set again soon after its end goes on.
-- KEYS[1] the brake. ARGV: now (ms), until (ms), how soon is soon (ms). Value: since and until.
local now, ends, soon = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local since, old = now, redis.call('GET', KEYS[1])
if old then
  local began, ended = string.match(old, '^(%d+) (%d+)$')
  if began and tonumber(ended) + soon >= now then
    since, ends = math.min(tonumber(began), now), math.max(tonumber(ended), ends)
  end
end
redis.call('SET', KEYS[1], string.format('%d %d', since, ends), 'PX', math.max(ends - now, 0) + soon + 1)
return 0
