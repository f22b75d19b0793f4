// A training without a model, of which one rank forgets to answer: run under mpirun by
// tests/programs/failure_test.cpp, for what train_llama cannot be made to do.
// Usage: failure_program RUN_FOLDER VICTIM TIMEOUT_S
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "comm/mpi/mpi_session.h"
#include "comm/world.h"
#include "runtime/failure/failure_report.h"
#include "runtime/failure/failure_watch.h"
#include "runtime/failure/rank_status.h"

namespace trine {
namespace {

void train(CommWorld& world, StatusWriter& status, int victim) {
  std::vector<float> gradient(100'000, 1.0f);
  for (int step = 1;; ++step) {
    status.set_step(step);
    status.set_action("0F0");
    status.set_node(7, "linear");
    if (step == 5 && status.rank() == victim) std::this_thread::sleep_for(std::chrono::hours(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    status.set_node(8, "all_reduce");
    world[Group::kDp].all_reduce(gradient.data(), static_cast<int64_t>(gradient.size()), DType::kF32);
  }
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  trine::MpiSession session;
  trine::CommWorld world(session, {.dp = session.num_ranks()}, std::chrono::seconds(std::atoi(argv[3])));
  trine::StatusWriter status(argv[1], session.rank(), session.num_ranks());
  status.observe(world);
  world[trine::Group::kWorld].barrier();
  const trine::FailureWatch watch(status);
  try {
    trine::train(world, status, std::atoi(argv[2]));
  } catch (const std::exception& error) {
    session.abort(static_cast<int>(trine::report_failure(status, &error)));
  }
}
