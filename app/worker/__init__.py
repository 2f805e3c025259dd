"""The child's side of a job: reads its spec, opens the nnU-Net room, tells events. Nobody imports it."""
