-- KEYS[1] tag. ARGV: queue names. Reply: the earliest due moment of each, '' for none.
local out = {}
for i = 1, #ARGV do
  local first = call('ZRANGE', KEYS[1] .. 'due:' .. ARGV[i], 0, 0, 'WITHSCORES')
  out[i] = first[2] or ''
end
return out
