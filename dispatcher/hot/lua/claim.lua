-- Takes members that are due on one queue, each under a lease in the sweep's waves.
-- KEYS[1] tag. ARGV: queue, now, limit, lease ends, lane, 1 where the queue sends (ready becomes sending), then apps
--   that are left alone for a moment.
-- Reply: {app, due, home, step, attempt, phase, members, attempted (4) a member} a chunk.
local tag, queue, now, limit = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local lease, lane, sends = tonumber(ARGV[4]), ARGV[5], ARGV[6] == '1'
local dk = tag .. 'due:' .. queue
local out, taken, looked, turn = {}, 0, 0, 0
local without = {}
for i = 7, #ARGV do without[ARGV[i]] = true end
local before_next = '(' .. string.format('%d', now + 1)

-- Whoever had a turn goes behind all that is due now: a fraction of a millisecond later than whoever had one before.
local function requeue(wave)
  turn = math.min(turn + 1, 2000)
  call('ZADD', dk, string.format('%.4f', now + turn / 2048), wave)
end

while taken < limit and looked < 4000 do
  local first = call('ZRANGEBYSCORE', dk, '-inf', before_next, 'WITHSCORES', 'LIMIT', 0, 1)
  if #first == 0 then break end
  local wave, score = first[1], first[2]
  local wk = tag .. 'w:' .. queue .. ':' .. wave
  local alone = without[string.match(wave, '^(.*)|%d+$')]
  local chunk = not alone and call('LPOP', wk)
  if alone then
    call('ZADD', dk, string.format('%d', now + 250), wave)
  elseif not chunk or call('EXISTS', wk) == 0 then
    call('ZREM', dk, wave)
  else
    requeue(wave)
  end
  if chunk then
    local app = string.match(wave, '^(.*)|%d+$')
    local home = sub(chunk, 1, 8)
    local step, attempt, phase = byte(chunk, 9, 11)
    local room = limit - taken
    if (#chunk - 11) / 3 > room then
      -- more than asked for: the rest goes back to the front
      call('LPUSH', wk, sub(chunk, 1, 11) .. sub(chunk, 12 + room * 3))
      requeue(wave)
      chunk = sub(chunk, 1, 11 + room * 3)
    end
    local d = vector(tag .. 'd:' .. home, DL)
    local t = vector(tag .. 't:' .. home, TL)
    local kept, ts = {}, {}
    for i = 12, #chunk, 3 do
      looked = looked + 1
      local place, track = u16(chunk, i), byte(chunk, i + 2)
      local record = get(d, place)
      if record and byte(record, 1) == 0 and band(byte(record, 4), EXISTS) ~= 0 then
        local planned = band(byte(record, 4), PLANNED) ~= 0
        if phase == 0 then
          if not planned then
            kept[#kept + 1] = sub(chunk, i, i + 2)
            ts[#ts + 1] = '\0\0\0\0'
          end
        elseif planned then
          local index = u16(record, 5) + track
          local r = get(t, index)
          if r and track < byte(record, 7) then
            local proof, s, a, p, untl = byte(r, 1, 5)
            if s == step and a == attempt and p == phase and proof < untl then
              kept[#kept + 1] = sub(chunk, i, i + 2)
              ts[#ts + 1] = sub(r, 13, 16)
              if sends then set(t, index, patch(r, 4, char(SENDING))) end
            end
          end
        end
      end
    end
    if #kept > 0 then
      local members = table.concat(kept)
      local held = sends and SENDING or phase
      save(t, length(t))
      push(tag, 'sweep.' .. lane, app, lease, now, home .. char(step, attempt, held) .. members)
      out[#out + 1] = {app, score, home, step, attempt, phase, members, table.concat(ts)}
      taken = taken + #kept
    end
  end
end
return out
