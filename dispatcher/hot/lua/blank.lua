-- Replaces fields of a home (messages, recipients, plans), where they are still there.
-- KEYS[1] tag. ARGV: home, then field, value pairs. Reply: how many were replaced.
local hk, count = KEYS[1] .. 'h:' .. ARGV[1], 0
for i = 2, #ARGV, 2 do
  if call('HEXISTS', hk, ARGV[i]) == 1 then
    call('HSET', hk, ARGV[i], ARGV[i + 1])
    count = count + 1
  end
end
return count
