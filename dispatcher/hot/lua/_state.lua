-- State vectors and waves; this text is put in front of every script that needs it.
-- Delivery record, 24 bytes: end, by, proof, flags, first track (2), tracks, 0, confirmed at (6), 0 0, expires (6), 0 0
-- Track record, 16 bytes: proof, step, attempt, phase, until, flags, path, proof path, device hash (4), attempted (4: ms
--   since the home was made, + 1)
-- Chunk of a wave: home (8), step, attempt, phase, then (place (2), track) a member.
local DL, TL = 24, 16
local EXISTS, PLANNED, EACH, ARCHIVED = 16, 1, 2, 4
local READY, SENDING, WAITING, PARKED, DONE = 1, 2, 3, 4, 7
local EXPIRED, EXHAUSTED, CONFIRMED, RECALLED = 2, 3, 4, 5
local byte, char, sub = string.byte, string.char, string.sub
local call = redis.call
local band, bor = bit.band, bit.bor

local function u16(s, i) local a, b = byte(s, i, i + 1) return a * 256 + b end
local function u48(s, i)
  local a, b, c, d, e, f = byte(s, i, i + 5)
  return ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f
end
local function p16(n) return char(math.floor(n / 256), n % 256) end
local function p48(n)
  local out = {}
  for i = 6, 1, -1 do out[i] = char(n % 256) n = math.floor(n / 256) end
  return table.concat(out)
end

-- A vector of fixed records, changed in memory and written once.
local function vector(key, width)
  return {key = key, width = width, text = call('GET', key) or '', changed = {}, count = 0}
end
local function get(v, index)
  local own = v.changed[index]
  if own then return own end
  local from = index * v.width
  if from + v.width > #v.text then return nil end
  return sub(v.text, from + 1, from + v.width)
end
local function set(v, index, record)
  if not v.changed[index] then v.count = v.count + 1 end
  v.changed[index] = record
end
local function save(v, length)
  if v.count == 0 then return end
  if v.count > 48 then
    local parts = {}
    for i = 0, length - 1 do parts[i + 1] = get(v, i) end
    call('SET', v.key, table.concat(parts))
  else
    for index, record in pairs(v.changed) do call('SETRANGE', v.key, index * v.width, record) end
  end
end
local function length(v)
  local n = math.floor(#v.text / v.width)
  for index in pairs(v.changed) do if index >= n then n = index + 1 end end
  return n
end
local function patch(record, at, bytes) return sub(record, 1, at - 1) .. bytes .. sub(record, at + #bytes) end

-- A wave is a list of chunks; what is ready now shares one wave an app, so that apps take turns.
local function push(tag, queue, app, due, now, chunk)
  local wave = app .. '|' .. (due <= now and '0' or string.format('%d', due))
  call('RPUSH', tag .. 'w:' .. queue .. ':' .. wave, chunk)
  call('ZADD', tag .. 'due:' .. queue, 'NX', string.format('%d', due), wave)
end

-- Whether a track record has the proof that its step asks for.
local function is_proven(r) return byte(r, 1) > 0 and byte(r, 1) >= byte(r, 5) end

-- Marks a delivery record as ended and lists it for the archive. Returns the record, and whether it was open.
local function finish(record, kind)
  local was = byte(record, 1)
  return patch(record, 1, char(kind)), was == 0
end
local function list_ended(tag, home, places)
  if #places == 0 then return end
  call('RPUSH', tag .. 'out', home .. table.concat(places))
  call('HINCRBY', tag .. 'h:' .. home, 'O', -#places)
end
