// How this process was started, and its way to the others that were started with it.
#pragma once

#include <memory>
#include <string>

#include "dist/communicator.h"

namespace tandem {

// As the environment says: variables that Open MPI's mpirun or MPICH's set. A process that was started otherwise is
// alone, and MPI is not even begun.
struct Launch {
  int rank = 0;
  int size = 1;
};
Launch launch();

// InputError when the program was built without MPI or for another MPI than the one that started it. One that lives
// ends together with the others: its destructor waits for them.
std::unique_ptr<Communicator> connect();

// Name and version of the MPI that the program was built with; empty: none.
std::string mpi_library();

// Cores for this rank, and ranks of the same machine: those that may run on one of its cores share them evenly.
struct MachineShare {
  int ranks = 1;    // on this machine, this one included
  int threads = 1;  // at least 1
};
MachineShare machine_share(Communicator& ranks);

// mpi.cpp or no_mpi.cpp.
std::unique_ptr<Communicator> connect_mpi(const Launch& launch);

}  // namespace tandem
