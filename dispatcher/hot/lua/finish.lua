-- Ends deliveries of one home from outside: recall, erasure. By dominance; confirmed_by stays beside it.
-- KEYS[1] tag. ARGV: home, end, places (2 bytes each). Reply: 2 bytes a place: was open, is archived.
local tag, home, kind = KEYS[1], ARGV[1], tonumber(ARGV[2])
local d = vector(tag .. 'd:' .. home, DL)
local out, ended_places = {}, {}
for i = 1, #ARGV[3], 2 do
  local place = u16(ARGV[3], i)
  local record = d.text ~= '' and get(d, place)
  local open, archived = 0, 0
  if record and band(byte(record, 4), EXISTS) ~= 0 then
    archived = band(byte(record, 4), ARCHIVED) ~= 0 and 1 or 0
    if byte(record, 1) < kind then
      local was_open
      record, was_open = finish(record, kind)
      set(d, place, record)
      if was_open then
        open = 1
        ended_places[#ended_places + 1] = p16(place)
      end
    end
  end
  out[#out + 1] = char(open, archived)
end
save(d, length(d))
list_ended(tag, home, ended_places)
return table.concat(out)
