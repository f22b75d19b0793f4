// What the process launcher (mpirun of Open MPI or MPICH, srun) tells through the environment, before any
// communicator exists.
#pragma once

namespace trine {

struct Launch {
  int rank = 0, num_ranks = 1;
  int ranks_on_host = 1;
  bool launched = false;  // by a launcher, which then also forwards signals and ends all ranks
};

Launch detect_launch();

}  // namespace trine
