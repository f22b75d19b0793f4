#include "comm/mpi/mpi_session.h"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <thread>

#include "base/error.h"
#include "comm/communicator.h"
#include "comm/mpi/mpi_transport.h"

namespace trine {
namespace {

constexpr std::chrono::seconds kAbortPatience{10};

}  // namespace

MpiSession::MpiSession(Watchdog* watchdog) : watchdog_(watchdog) {
  const auto watch = Watchdog::over(watchdog_, "MPI_Init");
  setenv("OMPI_MCA_mpi_yield_when_idle", "1", /*overwrite=*/0);
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_MULTIPLE) {
    throw Error(ExitCode::kOther,
                fmt::format("[mpi] this MPI library offers thread level {}, MPI_THREAD_MULTIPLE is {}. "
                            "Use one that is built with threads.",
                            provided, static_cast<int>(MPI_THREAD_MULTIPLE)));
  }
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &num_ranks_), "MPI_Comm_size");
}

MpiSession::~MpiSession() {
  if (std::uncaught_exceptions() != 0) return;
  const auto watch = Watchdog::over(watchdog_, "MPI_Finalize");
  MPI_Finalize();
}

std::unique_ptr<Transport> MpiSession::connect(const std::vector<int>& ranks) {
  TRINE_CHECK(std::is_sorted(ranks.begin(), ranks.end()) && std::binary_search(ranks.begin(), ranks.end(), rank_));
  Silence::check("MPI_Comm_split", "all");
  const auto watch = Watchdog::over(watchdog_, "MPI_Comm_split");
  MPI_Comm group = MPI_COMM_NULL;
  // The first rank names the group among those of this call.
  check_mpi(MPI_Comm_split(MPI_COMM_WORLD, ranks.front(), rank_, &group), "MPI_Comm_split");
  return std::make_unique<MpiTransport>(group);
}

void MpiSession::gather_bytes_on_host(const void* own, int size, const std::function<void*(int num_ranks)>& room) {
  Silence::check("MPI_Allgather", "host");
  const auto watch = Watchdog::over(watchdog_, "MPI_Allgather");
  MPI_Comm host = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &host),
            "MPI_Comm_split_type");
  int num_ranks = 1;
  check_mpi(MPI_Comm_size(host, &num_ranks), "MPI_Comm_size");
  check_mpi(MPI_Allgather(own, size, MPI_BYTE, room(num_ranks), size, MPI_BYTE, host), "MPI_Allgather");
  check_mpi(MPI_Comm_free(&host), "MPI_Comm_free");
}

// MPI_Abort asks the launcher, which may be stopped itself.
void MpiSession::abort(int exit_code) {
  std::thread([exit_code] {
    std::this_thread::sleep_for(kAbortPatience);
    std::_Exit(exit_code);
  }).detach();
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace trine
