-- Proven entries leave the unproven, opened ones the unread.
-- KEYS: user tags. ARGV: index of the user, proof, delivery id, an entry.
for i = 1, #ARGV, 3 do
  local u = KEYS[tonumber(ARGV[i])]
  redis.call('ZREM', u .. 'p', ARGV[i + 2])
  if tonumber(ARGV[i + 1]) >= 3 then redis.call('ZREM', u .. 'o', ARGV[i + 2]) end
end
return #ARGV / 3
