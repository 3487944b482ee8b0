-- Marks settled deliveries as archived and drops homes with nothing left.
-- KEYS[1] tag. ARGV: entries to trim from the list of settled ones, then (home, places) pairs.
-- Reply: homes dropped.
local tag = KEYS[1]
local dropped = {}
for a = 2, #ARGV, 2 do
  local home, places = ARGV[a], ARGV[a + 1]
  local d = vector(tag .. 'd:' .. home, DL)
  local count = 0
  for i = 1, #places, 2 do
    local place = u16(places, i)
    local record = d.text ~= '' and get(d, place)
    if record and band(byte(record, 4), ARCHIVED) == 0 then
      set(d, place, patch(record, 4, char(bor(byte(record, 4), ARCHIVED))))
      count = count + 1
    end
  end
  if d.text ~= '' then
    save(d, length(d))
    if call('HINCRBY', tag .. 'h:' .. home, 'U', -count) <= 0 then
      call('DEL', tag .. 'h:' .. home, tag .. 'd:' .. home, tag .. 't:' .. home)
      dropped[#dropped + 1] = home
    end
  end
end
call('LTRIM', tag .. 'out', tonumber(ARGV[1]), -1)
return dropped
