"""Long connections and parked long-polls: slotted protocol objects round a session without I/O.

No task, queue or timer belongs to a connection: one coarse timer serves all, acks are gathered for the whole node, and
a task lives only as long as a question to a store is under way.
"""
