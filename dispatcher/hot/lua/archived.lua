-- Marks settled deliveries as archived and drops homes with nothing left.
-- KEYS[1] tag. ARGV: entries to trim from the list of settled ones, the turn in which they were read, then (home,
--   places) pairs. A place, 4 bytes: place (2), end and proof as the ledger got them.
-- What changed since it was read is listed again. A call that is repeated finds another turn and changes nothing.
-- Reply: homes dropped.
local tag = KEYS[1]
local dropped = {}
if (call('GET', tag .. 'turn') or '0') ~= ARGV[2] then return dropped end
call('INCR', tag .. 'turn')
call('LTRIM', tag .. 'out', tonumber(ARGV[1]), -1)
for a = 3, #ARGV, 2 do
  local home, places = ARGV[a], ARGV[a + 1]
  local d = vector(tag .. 'd:' .. home, DL)
  local count = 0
  for i = 1, #places, 4 do
    local place = u16(places, i)
    local record = d.text ~= '' and get(d, place)
    if record and band(byte(record, 4), ARCHIVED) == 0 then
      if byte(record, 1) == byte(places, i + 2) and byte(record, 3) == byte(places, i + 3) then
        set(d, place, patch(record, 4, char(bor(byte(record, 4), ARCHIVED))))
        count = count + 1
      else
        call('RPUSH', tag .. 'out', home .. p16(place))
      end
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
return dropped
