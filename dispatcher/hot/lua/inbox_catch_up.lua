-- What devices have not stored yet; with nothing left and a session, a device turns online in the same script.
-- KEYS: a user tag each. ARGV: device, session, after, limit, floor, line each. Empty texts stand for none. A line
--   (session|node|syncing|foreground|since) is taken first: the newest session wins.
-- Reply: one {last seq, more, online, passed ids, line before, profile's revision, id, seq, body ...} each, in order;
--   fewer than asked for once a thousand entries are together, so that no answer stops the store for long: the rest is
--   to be asked again.
local call = redis.call

local function catch_up(u, device, session, after, limit, floor, line)
  local last = call('HGET', u .. 'b', '#') or '0'
  local passed, found = {}, {}
  local before, revision = '', ''
  if line ~= '' then
    before = call('HGET', u .. 'on', device) or ''
    revision = call('GETRANGE', u .. 'prof', 0, 15)
  end
  if after ~= '' and tonumber(after) > tonumber(last) then after = '' end -- of the future: as if none
  if last == '0' then -- nothing was ever put in
  elseif after ~= '' then
    passed = call('ZRANGEBYSCORE', u .. 'p', '-inf', after, 'LIMIT', 0, 1000)
    local from = after
    if floor ~= '' and tonumber(floor) > tonumber(after) then from = floor end
    found = call('ZRANGEBYSCORE', u .. 'q', '(' .. from, '+inf', 'WITHSCORES', 'LIMIT', 0, limit + 1)
  elseif floor ~= '' then
    found = call('ZRANGEBYSCORE', u .. 'q', '(' .. floor, '+inf', 'WITHSCORES', 'LIMIT', 0, limit + 1)
  else
    local newest = call('ZREVRANGEBYSCORE', u .. 'p', '+inf', '-inf', 'WITHSCORES', 'LIMIT', 0, limit + 1)
    local start = #newest - 1
    -- oldest first; where there are more than asked for, the oldest one waits in the inbox
    for i = start, 1, -2 do
      found[#found + 1] = newest[i]
      found[#found + 1] = newest[i + 1]
    end
  end
  local more = 0
  if #found > limit * 2 then
    more = 1
    if after == '' and floor == '' then
      table.remove(found, 1)
      table.remove(found, 1)
    else
      found[#found] = nil
      found[#found] = nil
    end
  end
  local online = 0
  if line ~= '' then
    if #found == 0 then
      line = string.gsub(line, '|syncing|', '|online|', 1)
      online = 1
    end
    call('HSET', u .. 'on', device, line)
    call('EXPIRE', u .. 'on', 691200)
  elseif session ~= '' and #found == 0 then
    local held = call('HGET', u .. 'on', device)
    if held then
      local own, rest = string.match(held, '^([^|]*)|(.*)$')
      if own == session then
        call('HSET', u .. 'on', device, own .. '|' .. string.gsub(rest, '|syncing|', '|online|', 1))
        online = 1
      end
    end
  end
  local out = {last, more, online, passed, before, revision}
  for i = 1, #found, 2 do
    local body = call('HGET', u .. 'b', found[i])
    if body then
      out[#out + 1] = found[i]
      out[#out + 1] = string.format('%d', tonumber(found[i + 1]))
      out[#out + 1] = body
    end
  end
  return out, #found / 2
end

local replies, entries = {}, 0
for i = 1, #KEYS do
  local at = 6 * i - 5
  local reply, found = catch_up(
    KEYS[i], ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4], ARGV[at + 5]
  )
  replies[i] = reply
  entries = entries + found
  if entries >= 1000 then break end
end
return replies
