-- One device's line changes or ends: only that of the session named, never a newer one's.
-- KEYS[1] user tag. ARGV: verb, device, session, foreground or now.
-- A value: session|node|line|foreground|since. Reply: the value before, '' for none or not ours.
local key, verb, device, session = KEYS[1] .. 'on', ARGV[1], ARGV[2], ARGV[3]
local call = redis.call
local held = call('HGET', key, device) or ''
local own, node, line, foreground, since = string.match(held, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)$')
if own ~= session then return '' end
if verb == 'foreground' then
  call('HSET', key, device, table.concat({own, node, line, ARGV[4], since}, '|'))
elseif verb == 'lost' then
  call('HSET', key, device, table.concat({own, node, 'lost', foreground, ARGV[4]}, '|'))
elseif verb == 'drop' then
  call('HDEL', key, device)
end
return held
