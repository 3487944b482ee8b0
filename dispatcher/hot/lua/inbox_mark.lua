-- Proven entries leave the unproven, opened ones the unread. KEYS[1] user tag. ARGV: proof, ids ...
local u = KEYS[1]
local opened = tonumber(ARGV[1]) >= 3
for i = 2, #ARGV do
  redis.call('ZREM', u .. 'p', ARGV[i])
  if opened then redis.call('ZREM', u .. 'o', ARGV[i]) end
end
return #ARGV - 1
