// Communication between ranks, by size of the buffer: GB/s = bytes of the buffer / time of
// the call (best of several).
//   build/bin/comm_bench [RANKS]            local ranks, 2 by default
//   mpirun --oversubscribe -np 2 build/bin/comm_bench       MPI
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fmt/core.h>
#include <vector>

#include "comm/launch.h"
#include "comm/local/local_ranks.h"
#include "comm/mpi/mpi_session.h"
#include "comm/world.h"

namespace trine {
namespace {

// Seconds of the fastest of many calls, each begun together.
template <typename F>
double best_seconds(Communicator& comm, int64_t bytes, F&& call) {
  const int64_t repeats = std::clamp<int64_t>((int64_t{256} << 20) / bytes, 10, 500);
  double best = 1e30;
  for (int64_t i = 0; i < repeats; ++i) {
    comm.barrier();
    const auto start = std::chrono::steady_clock::now();
    call();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

void ping_pong(Communicator& comm, std::vector<float>& data, int64_t bytes) {
  if (comm.rank() == 0) {
    comm.send(data.data(), bytes, DType::kU8, 1, 0);
    comm.recv(data.data(), bytes, DType::kU8, 1, 1);
  } else if (comm.rank() == 1) {
    comm.recv(data.data(), bytes, DType::kU8, 0, 0);
    comm.send(data.data(), bytes, DType::kU8, 0, 1);
  }
}

void run(Fabric& fabric, const char* transport) {
  CommWorld world(fabric, {.dp = fabric.num_ranks()}, std::chrono::seconds(120));
  Communicator& comm = world[Group::kDp];
  if (comm.rank() == 0) {
    fmt::print("{} ranks over {}, GB/s\n{:>10} {:>12} {:>12} {:>14} {:>12} {:>12}\n", comm.size(), transport,
               "bytes", "all_reduce", "bf16", "reduce_scatter", "all_gather", "one way");
  }
  for (int64_t bytes = 4 << 10; bytes <= 64 << 20; bytes *= 4) {
    std::vector<float> data(bytes / 4), shard(bytes / 4);
    const auto rate = [&](double seconds) { return static_cast<double>(bytes) / seconds * 1e-9; };
    const double reduce = best_seconds(comm, bytes, [&] { comm.all_reduce(data.data(), bytes / 4, DType::kF32); });
    const double bf16 = best_seconds(comm, bytes, [&] { comm.all_reduce(data.data(), bytes / 2, DType::kBF16); });
    const double scatter =
        best_seconds(comm, bytes, [&] { comm.reduce_scatter(data.data(), shard.data(), bytes / 4, DType::kF32); });
    const double gather =
        best_seconds(comm, bytes, [&] { comm.all_gather(shard.data(), data.data(), bytes / 4, DType::kF32); });
    const double both_ways = best_seconds(comm, bytes, [&] { ping_pong(comm, data, bytes); });
    if (comm.rank() != 0) continue;
    fmt::print("{:>10} {:>12.2f} {:>12.2f} {:>14.2f} {:>12.2f} {:>12.2f}\n", bytes, rate(reduce), rate(bf16),
               rate(scatter), rate(gather), rate(both_ways / 2));
  }
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  if (trine::detect_launch().launched) {
    trine::MpiSession session;
    trine::run(session, "MPI");
  } else {
    const int num_ranks = argc > 1 ? std::atoi(argv[1]) : 2;
    trine::run_local_ranks(std::max(2, num_ranks), [](trine::Fabric& fabric) { trine::run(fabric, "local"); });
  }
  return 0;
}
