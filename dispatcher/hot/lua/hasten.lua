-- A waiting step is known to have failed: its members are due now.
-- KEYS[1] tag. ARGV: queue, app, now, chunk.
push(KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[3]), ARGV[4])
return 1
