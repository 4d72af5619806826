// Ranks that are processes of an MPI job. Only sends, receives and tests of MPI are used: its own sums may be formed in
// another order from run to run, and its waits burn the core that another rank may need.
// Without the C++ bindings, which MPI has given up.
#define OMPI_SKIP_MPICXX 1
#include <mpi.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "base/error.h"
#include "dist/collectives.h"
#include "dist/launch.h"

namespace tandem {
namespace {

void require(int result, const char* what) {
  if (result == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING + 1> text{};
  int length = 0;
  MPI_Error_string(result, text.data(), &length);
  throw JobError({.what = "MPI", .where = what, .got = text.data()});
}

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(const Launch& launch) {
    int provided = 0;
    require(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    require(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
    require(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size");
    if (size_ == launch.size) return;
    MPI_Finalize();
    throw InputError({.what = "mpirun of another MPI than the program was built with",
                      .got = fmt::format("{} processes, of which MPI knows {}", launch.size, size_),
                      .expected = fmt::format("the mpirun of {}", mpi_library())});
  }

  // Nobody leaves while others still compute: MPI_Finalize would burn a core until they are done.
  ~MpiCommunicator() override {
    try {
      barrier(*this);
    } catch (const std::exception&) {
      abort(1);
    }
    MPI_Finalize();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  bool test(Request request) override {
    int done = 0;
    require(MPI_Test(&requests_[static_cast<size_t>(request)], &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (done) free_.push_back(request);
    return done != 0;
  }

  [[noreturn]] void abort(int code) override {
    MPI_Abort(MPI_COMM_WORLD, code);
    ::_exit(code);
  }

 private:
  Request start_send(int to, int tag, std::span<const std::byte> bytes) override {
    Request request = new_request();
    require(MPI_Isend(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, to, tag, MPI_COMM_WORLD,
                      &requests_[static_cast<size_t>(request)]),
            "MPI_Isend");
    return request;
  }

  Request start_receive(int from, int tag, std::span<std::byte> bytes) override {
    Request request = new_request();
    require(MPI_Irecv(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, from, tag, MPI_COMM_WORLD,
                      &requests_[static_cast<size_t>(request)]),
            "MPI_Irecv");
    return request;
  }

  Request new_request() {
    if (free_.empty()) {
      requests_.push_back(MPI_REQUEST_NULL);
      return static_cast<Request>(requests_.size()) - 1;
    }
    Request request = free_.back();
    free_.pop_back();
    return request;
  }

  int rank_ = 0;
  int size_ = 1;
  std::vector<MPI_Request> requests_;
  std::vector<Request> free_;
};

}  // namespace

std::unique_ptr<Communicator> connect_mpi(const Launch& launch) { return std::make_unique<MpiCommunicator>(launch); }

std::string mpi_library() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING + 1> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  std::string name = text.data();
  return name.substr(0, name.find_first_of(",\n"));
}

}  // namespace tandem
