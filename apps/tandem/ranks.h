// Verbs that several processes under mpirun share.
#pragma once

#include <functional>

#include "dist/communicator.h"

namespace tandem::app {

// Connects to the other processes, if this one was started with some, and runs the job. Its result is the exit code.
// Where the job throws on one rank, that rank says why and all of them end with the exit code of the error; what all
// ranks meet is said by rank 0 alone.
int on_ranks(const std::function<int(Communicator&)>& job);

// The processes for one: its share of the cores, unless the config says how many threads.
int threads_for(Communicator& ranks, int wanted);

}  // namespace tandem::app
