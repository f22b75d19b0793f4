#include "examples/version.h"

#include <fmt/core.h>
#define OMPI_SKIP_MPICXX 1  // the C++ bindings of MPI 2 are no part of this program
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>
#include <nlohmann/json.hpp>
#include <oneapi/dnnl/dnnl_version.h>

namespace trine {

std::string version_text() {
  return fmt::format(
      "Trine {} (commit {}, {})\n"
      "MPI {}.{} ({}), HDF5 {}, oneDNN {}.{}.{}, fmt {}.{}.{}, nlohmann-json {}.{}.{}, CUDA: {}",
      TRINE_VERSION, TRINE_COMMIT, TRINE_COMPILER, MPI_VERSION, MPI_SUBVERSION, TRINE_MPI_LIBRARY,
      TRINE_HDF5_VERSION, DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH, FMT_VERSION / 10000,
      FMT_VERSION / 100 % 100, FMT_VERSION % 100, NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR,
      NLOHMANN_JSON_VERSION_PATCH, TRINE_CUDA_TEXT);
}

std::string version_number() { return TRINE_VERSION; }
std::string version_commit() { return TRINE_COMMIT; }

}  // namespace trine
