-- Gives a lease back for members that were put off untried, so that it does not end under their next claim.
-- KEYS[1] tag. ARGV: sweep queue, app, lease ends, now, the claim's chunk as it was leased, what stays of it ('' none).
local tag, queue, app, lease, now = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local wave = tag .. 'w:' .. queue .. ':' .. app .. '|' .. string.format('%d', lease)
local removed = call('LREM', wave, 1, ARGV[5])
if removed == 1 and ARGV[6] ~= '' then push(tag, queue, app, lease, now, ARGV[6]) end
return removed
