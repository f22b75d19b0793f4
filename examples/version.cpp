#include "examples/version.h"

#include <fmt/core.h>
#include <mpi.h>
#include <oneapi/dnnl/dnnl_version.h>

#include <nlohmann/json.hpp>

namespace trine {

std::string version_text() {
  return fmt::format(
      "Trine {} (commit {}, {} {})\n"
      "MPI {}.{}, oneDNN {}.{}.{}, fmt {}.{}.{}, nlohmann-json {}.{}.{}, CUDA: no",
      TRINE_VERSION, TRINE_COMMIT, "g++", __VERSION__, MPI_VERSION, MPI_SUBVERSION, DNNL_VERSION_MAJOR,
      DNNL_VERSION_MINOR, DNNL_VERSION_PATCH, FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100,
      NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH);
}

}  // namespace trine
