-- Applies receipts to one shard. Proof is a maximum, so order and repeats do not matter.
-- KEYS[1] tag. ARGV: now, then (home, receipts) pairs. A receipt, 16 bytes: place (2), track or 255, device hash (4),
--   event, via, 0, at (6).
-- Reply: 12 bytes a receipt: known, new, confirmed, late, path, inferred, archived, track, attempted (4).
local tag = KEYS[1]
local replies = {}
for a = 2, #ARGV, 2 do
  local home, receipts = ARGV[a], ARGV[a + 1]
  local d = vector(tag .. 'd:' .. home, DL)
  local t = vector(tag .. 't:' .. home, TL)
  local ended_places = {}
  for i = 1, #receipts, 16 do
    local place, track = u16(receipts, i), byte(receipts, i + 2)
    local hash, event, via = sub(receipts, i + 3, i + 6), byte(receipts, i + 7, i + 8)
    local record = d.text ~= '' and get(d, place)
    if not record or band(byte(record, 4), EXISTS) == 0 then
      replies[#replies + 1] = string.rep('\0', 12)
    else
      local first, count, flags = u16(record, 5), byte(record, 7), byte(record, 4)
      local index
      if hash ~= '\0\0\0\0' then
        for k = 0, count - 1 do
          local r = get(t, first + k)
          if sub(r, 9, 12) == hash then index = k break end
        end
      elseif track < count then
        index = track
      end
      local old, inferred, path, attempted, untl = byte(record, 3), 0, via, '\0\0\0\0', 1
      local r
      if index then
        r = get(t, first + index)
        old, untl, attempted = byte(r, 1), byte(r, 5), sub(r, 13, 16)
        if path == 0 then path = byte(r, 7) inferred = 1 end
        if via == 5 then untl = 1 end -- a carrier can tell no more than delivered
      end
      if path == 0 then path = 4 inferred = 1 end -- never attempted: it was pulled
      local new = event > old and 1 or 0
      if new == 1 then
        if r then
          r = patch(r, 1, char(event))
          if byte(r, 8) == 0 then r = patch(r, 8, char(path)) end
          set(t, first + index, r)
        end
        if event > byte(record, 3) then record = patch(record, 3, char(event)) end
        set(d, place, record)
      end
      local satisfied = event >= untl
      if satisfied and band(flags, EACH) ~= 0 then
        for k = 0, count - 1 do
          local other = get(t, first + k)
          -- a parked one waits for an SMS only, which proof forbids
          if not is_proven(other) and byte(other, 4) ~= DONE and byte(other, 4) ~= PARKED then satisfied = false end
        end
      end
      local confirmed, late, was = 0, 0, byte(record, 1)
      if satisfied and was ~= CONFIRMED and byte(record, 2) == 0 and was ~= 1 then
        record = patch(record, 2, char(path))
        record = patch(record, 9, sub(receipts, i + 10, i + 15))
        if was < CONFIRMED then
          record = patch(record, 1, char(CONFIRMED))
          confirmed = 1
          if was == 0 then ended_places[#ended_places + 1] = p16(place) else late = 1 end
        end
        set(d, place, record)
      end
      local archived = band(flags, ARCHIVED) ~= 0 and 1 or 0
      replies[#replies + 1] = char(1, new, confirmed, late, path, inferred, archived, index or 255) .. attempted
    end
  end
  if d.text ~= '' then
    save(d, length(d))
    save(t, length(t))
    list_ended(tag, home, ended_places)
  end
end
return table.concat(replies)
