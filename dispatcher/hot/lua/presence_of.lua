-- Lines of many users. KEYS: user tags. Reply: index of the user, device, value ... of those that have any.
local out = {}
for i = 1, #KEYS do
  local fields = redis.call('HGETALL', KEYS[i] .. 'on')
  for k = 1, #fields, 2 do
    out[#out + 1] = i
    out[#out + 1] = fields[k]
    out[#out + 1] = fields[k + 1]
  end
end
return out
