//! All integration tests in one binary, so that the program's libraries are linked once.

mod attached;
mod dashboard;
mod end_to_end;
mod fault_table;
mod faults;
mod first_minute;
mod in_turn;
mod official;
mod overhead;
mod peak;
mod recording;
mod replicas;
mod screen;
mod started;
mod submission;
mod support;
