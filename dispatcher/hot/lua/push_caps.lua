-- One push for each of many devices, by the generic cell rate algorithm (see permit.lua).
-- KEYS[1] tag. ARGV: now (ms), then app and device, limit, window (ms) a push. Reply: '1' where allowed, else '0', a push.
local tag, now, out = KEYS[1], tonumber(ARGV[1]), {}
for i = 2, #ARGV, 3 do
  local key, limit, window = tag .. 'cap:' .. ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local full_at = math.max(tonumber(redis.call('GET', key) or '0'), now) + window / limit
  if full_at - window > now then
    out[#out + 1] = '0'
  else
    redis.call('SET', key, string.format('%.3f', full_at), 'PX', math.ceil(full_at - now) + 1)
    out[#out + 1] = '1'
  end
end
return table.concat(out)
