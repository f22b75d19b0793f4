// A training without a model, of which one rank comes to harm: run under mpirun by failure_program_test.py.
// Usage: failure_program RUN_FOLDER VICTIM HARM TIMEOUT_S
//   HARM  kill, stop, crash, term: the victim's signal to itself in step 5; error: it throws; sleep: it forgets to
//         answer; end: the run ends well after 20 steps
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "comm/mpi/mpi_session.h"
#include "comm/world.h"
#include "runtime/failure_report.h"
#include "runtime/failure_watch.h"
#include "runtime/rank_status.h"
#include "runtime/stop_signal.h"

namespace trine {
namespace {

void harm(const std::string& kind) {
  if (kind == "kill") ::raise(SIGKILL);
  if (kind == "stop") ::raise(SIGSTOP);
  if (kind == "crash") ::raise(SIGSEGV);
  if (kind == "term") ::raise(SIGTERM);
  if (kind == "error") throw DataError("[data] the sample cannot be read");
  if (kind == "sleep") std::this_thread::sleep_for(std::chrono::hours(1));
}

void train(CommWorld& world, StatusWriter& status, int victim, const std::string& kind) {
  std::vector<float> gradient(100'000, 1.0f);
  for (int step = 1; step <= (kind == "end" ? 20 : 1'000'000); ++step) {
    status.set_step(step);
    status.set_action("0F0");
    status.set_node(7, "linear");
    if (step == 5 && status.rank() == victim) harm(kind);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    status.set_node(8, "all_reduce");
    world[Group::kDp].all_reduce(gradient.data(), static_cast<int64_t>(gradient.size()), DType::kF32);
  }
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  trine::MpiSession session;
  const trine::StopSignal stop(true, "");
  trine::CommWorld world(session, {.dp = session.num_ranks()}, std::chrono::seconds(std::atoi(argv[4])));
  trine::StatusWriter status(argv[1], session.rank(), session.num_ranks());
  status.observe(world);
  world[trine::Group::kWorld].barrier();
  const trine::FailureWatch watch(status);
  try {
    trine::train(world, status, std::atoi(argv[2]), argv[3]);
  } catch (const std::exception& error) {
    session.abort(static_cast<int>(trine::report_failure(status, &error)));
  }
  world[trine::Group::kWorld].barrier();  // nobody is missed before all have ended
  return 0;
}
