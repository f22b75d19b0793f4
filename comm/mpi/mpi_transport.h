// Messages over one MPI communicator. The only header here that shows MPI.
#pragma once

#define OMPI_SKIP_MPICXX 1  // the C++ bindings are gone from the standard, their headers are not
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include "comm/transport.h"

namespace trine {

// Throws what an MPI call returned: CheckError for messages of different sizes, PeerLostError otherwise.
void check_mpi(int code, const char* call);

class MpiTransport final : public Transport {
 public:
  // MPI counts in int: longer messages go in parts, which arrive in order because they share ends and tag.
  static constexpr size_t kPartBytes = size_t{1} << 30;

  explicit MpiTransport(MPI_Comm communicator, size_t part_bytes = kPartBytes);  // takes the communicator
  ~MpiTransport() override;
  MpiTransport(const MpiTransport&) = delete;
  MpiTransport& operator=(const MpiTransport&) = delete;

  std::unique_ptr<Message> send(const void* data, size_t bytes, int peer, int tag) override;
  std::unique_ptr<Message> receive(void* data, size_t bytes, int peer, int tag) override;

 private:
  MPI_Comm communicator_;
  const size_t part_bytes_;
};

}  // namespace trine
