// Runs under mpirun: the checks of the local ranks over MPI, and that both give the same bits.
#include <cstdio>

#include "comm/local/local_ranks.h"
#include "comm/mpi/mpi_session.h"
#include "comm/world.h"
#include "tests/comm/collective_checks.h"
#include "tests/comm/pipeline_checks.h"

namespace trine {
namespace {

using namespace std::chrono_literals;

// What this rank of `fabric` gets in one of its groups.
Bytes results_on(Fabric& fabric, const Mesh& mesh, Group group) {
  CommWorld world(fabric, mesh, 60s);
  Bytes results;
  check_collectives(world[group], results);
  check_message_storm(world[group], 1);
  check_pipeline(world[group], results);
  return results;
}

// Rank 0 waits for a message that rank 1 never sends.
void check_timeout(Fabric& fabric) {
  CommWorld world(fabric, {.dp = fabric.num_ranks()}, 200ms);
  if (fabric.rank() != 0) return;
  try {
    float data = 0;
    world[Group::kDp].recv(&data, 1, DType::kF32, 1, 0);
  } catch (const HangError& error) {
    const std::string_view message = error.what();
    if (message.find("rank 0 in recv 1 of group dp, waiting for rank 1") != message.npos) return;
  }
  throw std::runtime_error("a wait did not run out");
}

void run(MpiSession& session) {
  const int n = session.num_ranks();
  const std::pair<Mesh, Group> cases[] = {{Mesh{.dp = n}, Group::kWorld}, {Mesh{.pp = n / 2, .tp = 2}, Group::kTp}};
  for (const auto& [mesh, group] : cases) {
    const Bytes over_mpi = results_on(session, mesh, group);
    run_local_ranks(n, [&, mesh = mesh, group = group](Fabric& local) {
      const Bytes results = results_on(local, mesh, group);
      if (local.rank() == session.rank() && results != over_mpi)
        throw std::runtime_error("MPI and local ranks differ");
    });
  }
  check_timeout(session);
}

}  // namespace
}  // namespace trine

int main() {
  trine::MpiSession session;
  try {
    trine::run(session);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", session.rank(), error.what());
    session.abort(1);
  }
  return 0;
}
