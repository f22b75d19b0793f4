// Executes the programs of all pipeline ranks against each other, before anything starts.
//
// A rank comes by its commands in order. Each directed edge (forward or backward, from rank to rank) is a FIFO
// without capacity: its i-th send meets its i-th receive, and the message is complete when both are posted. Posting
// never waits; wait_receive and wait_sent wait for the message.
#pragma once

#include <span>

#include "plan/step_program.h"

namespace trine {

// `programs`: by pipeline rank, of one mode. ConfigError where messages of an edge are sent and received in
// different orders, and for a deadlock: it says for each rank in which action it stands and what it waits for.
void check_programs(std::span<const StepProgram> programs);

}  // namespace trine
