// In place of mpi.cpp where the program is built without MPI.
#include "base/error.h"
#include "dist/launch.h"

namespace tandem {

std::unique_ptr<Communicator> connect_mpi(const Launch& launch) {
  throw InputError({.what = "this program was built without MPI",
                    .got = fmt::format("a start as one of {} processes", launch.size),
                    .expected = "a start without mpirun",
                    .hint = "scripts/install-deps installs Open MPI; then build again"});
}

std::string mpi_library() { return ""; }

}  // namespace tandem
