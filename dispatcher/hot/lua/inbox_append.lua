-- Appends entries to inboxes; gives each its seq. Users' keys of one call share a slot or the store is no cluster.
-- KEYS: user tags. ARGV: newest kept, unproven kept, expiry (s), now (us), then per entry: key index, delivery id,
--   message id, body. Reply: seq, prev seq an entry.
local keep, cap, expiry, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local call = redis.call
local time = call('TIME')
now = math.max(now, tonumber(time[1]) * 1000000 + tonumber(time[2]))
local DAY = 86400000000 -- us
-- by key index: the last seq given, the one before this call, how many were put in
local last, begun, count, out = {}, {}, {}, {}

local function drop(u, id)
  local body = call('HGET', u .. 'b', id)
  call('ZREM', u .. 'q', id)
  call('ZREM', u .. 'p', id)
  call('ZREM', u .. 'o', id)
  call('HDEL', u .. 'b', id)
  local message = body and string.match(body, '^"message_id":"([^"]*)"')
  if message then call('HDEL', u .. 'b', 'm:' .. message) end
end

for i = 5, #ARGV, 4 do
  local k = tonumber(ARGV[i])
  local u, id = KEYS[k], ARGV[i + 1]
  local previous = last[k] or tonumber(call('HGET', u .. 'b', '#') or '0')
  local seq = math.max(previous + 1, now)
  local score = string.format('%d', seq)
  if call('ZADD', u .. 'q', 'NX', score, id) == 1 then
    begun[k] = begun[k] or previous
    last[k] = seq
    call('ZADD', u .. 'p', score, id)
    call('ZADD', u .. 'o', score, id)
    call('HSET', u .. 'b', id, ARGV[i + 3], 'm:' .. ARGV[i + 2], id, '#', score)
    count[k] = (count[k] or 0) + 1
    out[#out + 1] = score
    out[#out + 1] = string.format('%d', previous)
  else
    local known = call('ZSCORE', u .. 'q', id)
    local before = call('ZREVRANGEBYSCORE', u .. 'q', '(' .. known, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
    out[#out + 1] = string.format('%d', tonumber(known))
    out[#out + 1] = before[2] and string.format('%d', tonumber(before[2])) or '0'
  end
end
for k, seq in pairs(last) do
  local u = KEYS[k]
  local held = call('ZCARD', u .. 'q')
  local over = held - keep
  if over > 0 then
    local crowded = call('ZCARD', u .. 'p') > cap
    for _, id in ipairs(call('ZRANGE', u .. 'q', 0, math.min(over, 64) - 1)) do
      if crowded or not call('ZSCORE', u .. 'p', id) then drop(u, id) end
    end
  end
  -- What proofs and reads may have emptied was made anew; the rest counts from the first append of a day.
  call('EXPIRE', u .. 'p', expiry)
  call('EXPIRE', u .. 'o', expiry)
  if held == count[k] or math.floor(begun[k] / DAY) ~= math.floor(seq / DAY) then
    call('EXPIRE', u .. 'q', expiry + DAY / 1000000)
    call('EXPIRE', u .. 'b', expiry + DAY / 1000000)
  end
end
return out
