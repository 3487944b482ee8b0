-- Recalled or erased entries go. KEYS[1] user tag. ARGV: ids ...
local u = KEYS[1]
for i = 1, #ARGV do
  local body = redis.call('HGET', u .. 'b', ARGV[i])
  for _, part in ipairs({'q', 'p', 'o'}) do redis.call('ZREM', u .. part, ARGV[i]) end
  redis.call('HDEL', u .. 'b', ARGV[i])
  local message = body and string.match(body, '^"message_id":"([^"]*)"')
  if message then redis.call('HDEL', u .. 'b', 'm:' .. message) end
end
return #ARGV
