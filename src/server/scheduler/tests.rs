//! The queue and the scheduler.
