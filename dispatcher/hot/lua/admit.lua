-- KEYS[1] tag. ARGV: home, now, due, queue, app, delivery vector, members of the plan wave, count, places that
--   have ended already (2 each), then field, value ...
-- Reply: 1 stored, 0 was there already.
local tag, home, now, due = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local hk = tag .. 'h:' .. home
if call('EXISTS', hk) == 1 then return 0 end
for i = 10, #ARGV, 800 do
  local last = math.min(i + 799, #ARGV)
  call('HSET', hk, unpack(ARGV, i, last))
end
call('HSET', hk, 'A', ARGV[5], 'O', ARGV[8], 'U', ARGV[8])
call('SET', tag .. 'd:' .. home, ARGV[6])
if #ARGV[7] > 0 then push(tag, ARGV[4], ARGV[5], due, now, home .. '\0\0\0' .. ARGV[7]) end
local ended = {}
for i = 1, #ARGV[9], 2 do ended[#ended + 1] = sub(ARGV[9], i, i + 1) end
list_ended(tag, home, ended)
return 1
