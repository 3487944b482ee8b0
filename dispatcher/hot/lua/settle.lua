-- Writes the result of one claim's work on one home: plans, moves by compare-and-set, ends, waves, journal.
-- KEYS[1] tag. ARGV: home, now, app, sms queue, reach-each flag (unused places ignore it),
--   n plans, then (place (2), blob, track records, flags) each as 3 args: place, blob, flag byte .. records,
--   moves (19 bytes each), ends (3 bytes each), n waves, then queue, due, chunk each, then journal entries ...
-- A move: place (2), track, before step attempt phase, after step attempt phase, until, path, tried, attempted (4),
--   0 (3).
-- Reply: {moved, lost, ended (place (2), end) ..., sms due (place (2), track) ..., attempts that left after proof}
local tag, home, now, app, sms = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local hk = tag .. 'h:' .. home
local d = vector(tag .. 'd:' .. home, DL)
if d.text == '' then return {0, 0, '', '', 0} end
local t = vector(tag .. 't:' .. home, TL)
local born, late = math.floor(u48(home, 1) / 128) + 1704067200000, 0 -- ms; the upper 41 bits of a home
local moved, lost, touched, ended, ended_places, sms_due = 0, 0, {}, {}, {}, {}
local next_track = length(t)
local at = 5

local function close(place, record, kind)
  local was_open
  record, was_open = finish(record, kind)
  set(d, place, record)
  if was_open then
    ended[#ended + 1] = p16(place) .. char(kind)
    ended_places[#ended_places + 1] = p16(place)
  end
  return record
end
local function confirm(place, record, path)
  record = patch(record, 2, char(path))
  record = patch(record, 9, p48(now))
  return close(place, record, CONFIRMED)
end

-- The path by which any of a delivery's tracks is proven; 0 for none.
local function proven_by(record)
  local first = u16(record, 5)
  for i = 0, byte(record, 7) - 1 do
    local r = get(t, first + i)
    if is_proven(r) then return byte(r, 8) end
  end
  return 0
end

local plans = tonumber(ARGV[at]) at = at + 1
for _ = 1, plans do
  local place, blob, rest = u16(ARGV[at], 1), ARGV[at + 1], ARGV[at + 2]
  at = at + 3
  local record = get(d, place)
  if record and byte(record, 1) == 0 and band(byte(record, 4), PLANNED) == 0 then
    local records = (#rest - 1) / TL
    local flags = bor(byte(record, 4), PLANNED, byte(rest, 1))
    record = patch(record, 4, char(flags) .. p16(next_track) .. char(records))
    set(d, place, record)
    for i = 0, records - 1 do set(t, next_track + i, sub(rest, 2 + i * TL, 1 + (i + 1) * TL)) end
    next_track = next_track + records
    call('HSET', hk, 'P' .. place, blob)
    touched[place] = true
    moved = moved + 1
  else
    lost = lost + 1
  end
end

local moves = ARGV[at] at = at + 1
for i = 1, #moves, 19 do
  local place, track = u16(moves, i), byte(moves, i + 2)
  local record = get(d, place)
  local index = record and u16(record, 5) + track
  local r = record and track < byte(record, 7) and get(t, index)
  if r and sub(r, 2, 4) == sub(moves, i + 3, i + 5) then
    local untl, path, tried = byte(moves, i + 9, i + 11)
    local flags = byte(r, 6)
    if tried == 1 then
      flags = bor(flags, 1)
      if byte(record, 2) ~= 0 and u48(record, 9) < born + u48('\0\0' .. sub(moves, i + 12, i + 15), 1) - 1 then
        late = late + 1
      end
    end
    local proof = byte(r, 1)
    r = patch(r, 2, sub(moves, i + 6, i + 8) .. char(untl, flags, path ~= 0 and path or byte(r, 7)))
    if tried == 1 then r = patch(r, 13, sub(moves, i + 12, i + 15)) end
    set(t, index, r)
    if proof > 0 and proof >= untl and byte(record, 1) == 0 and band(byte(record, 4), EACH) == 0 then
      confirm(place, record, byte(r, 8))
    end
    touched[place] = true
    moved = moved + 1
  else
    lost = lost + 1
  end
end

local ends = ARGV[at] at = at + 1
for i = 1, #ends, 3 do
  local place, kind = u16(ends, i), byte(ends, i + 2)
  local record = get(d, place)
  if record and byte(record, 1) == 0 and band(byte(record, 4), EXISTS) ~= 0 then
    -- in reach "each" proof on some devices is still a confirmation once the time is up
    local by = kind == EXPIRED and proven_by(record) or 0
    if by > 0 then confirm(place, record, by) else close(place, record, kind) end
  else
    lost = lost + 1
  end
end

-- Who stands still now? All ended: exhausted. At the sms step or ended: one SMS for the user is due (invariant 5).
for place in pairs(touched) do
  local record = get(d, place)
  if byte(record, 1) == 0 then
    local first, count = u16(record, 5), byte(record, 7)
    local still, tried_any, candidate, candidate_tried = true, false, nil, nil
    for i = 0, count - 1 do
      local r = get(t, first + i)
      local phase, tried = byte(r, 4), band(byte(r, 6), 1) ~= 0
      if tried then tried_any = true end
      if phase == PARKED then
        candidate = candidate or i
        if tried then candidate_tried = candidate_tried or i end
      elseif phase ~= DONE and not is_proven(r) then
        still = false
      end
    end
    if still then
      local chosen = candidate_tried
      if not tried_any then chosen = candidate end
      local by = proven_by(record)
      if by > 0 then
        -- in reach "each" proof on some devices is a confirmation once nothing is left to do, and no SMS goes then
        confirm(place, record, by)
      elseif chosen then
        local r = get(t, first + chosen)
        set(t, first + chosen, patch(r, 4, char(READY)))
        push(tag, sms, app, now, now, home .. sub(r, 2, 3) .. char(READY) .. p16(place) .. char(chosen))
        sms_due[#sms_due + 1] = p16(place) .. char(chosen)
      else
        close(place, record, EXHAUSTED)
      end
    end
  end
end

save(d, length(d))
save(t, length(t))
list_ended(tag, home, ended_places)
local waves = tonumber(ARGV[at]) at = at + 1
for _ = 1, waves do
  push(tag, ARGV[at], app, tonumber(ARGV[at + 1]), now, ARGV[at + 2])
  at = at + 3
end
for i = at, #ARGV do call('RPUSH', tag .. 'j', home .. ARGV[i]) end
return {moved, lost, table.concat(ended), table.concat(sms_due), late}
