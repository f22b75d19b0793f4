// What the process launcher (mpirun of Open MPI or MPICH, srun) tells through the
// environment, before any communicator exists.
#pragma once

#include <string>

namespace trine {

class Fabric;

struct Launch {
  int rank = 0, num_ranks = 1;
  int ranks_on_host = 1;
  bool launched = false;  // by a launcher, which then also forwards signals and ends all ranks
  // Where that was read: "PMI_RANK", "PMI_SIZE". Empty without a launcher.
  std::string rank_variable = {}, size_variable = {};
  // The launcher hands SIGTERM and SIGINT on to the ranks and gives them time, as srun does. mpirun ends them
  // itself, about a second later.
  bool passes_signals = false;

  bool of_many() const { return launched && num_ranks > 1; }
};

// The innermost launcher counts: mpirun within a Slurm job before Slurm. The batch script of a Slurm job is no rank
// of many, whatever the size of its allocation; only srun's steps are.
Launch detect_launch();

// ConfigError if srun has started several tasks and gives MPI nothing to find the others by (PMIx or PMI-2):
// MPI_Init would then fail or leave each rank alone, as the MPI at hand likes. Also if the launcher that the
// variables are of has ended: what a shell under mpirun leaves behind makes MPI_Init end the process.
void check_pmi(const Launch& launch);

// Whether Slurm's daemon of a step runs above this process: the variables of a step are no leftovers then.
bool within_slurm_step();

// ConfigError unless `fabric` has as many ranks as the launcher started: each rank would train alone if the program
// is linked to another MPI than the launcher's, and so does a process that only inherited a launcher's variables.
void check_launch(const Launch& launch, const Fabric& fabric);

}  // namespace trine
