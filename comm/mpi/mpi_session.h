// MPI from start to end, and messages over it. Calls that Open MPI and MPICH share.
#pragma once

#include <functional>
#include <type_traits>
#include <vector>

#include "comm/transport.h"
#include "comm/watchdog.h"

namespace trine {

// One for each process, made in main before any other thread but the watchdog's. While it lives, MPI may be called
// from all threads.
class MpiSession final : public Fabric {
 public:
  // Sets Open MPI to yield while it waits (OMPI_MCA_mpi_yield_when_idle, unless the user has set it), because
  // oversubscribed ranks are some 40 times slower without. Error if MPI does not offer MPI_THREAD_MULTIPLE.
  // `watchdog` (nullptr: none; it outlives the session) watches every call that waits for other ranks.
  explicit MpiSession(Watchdog* watchdog = nullptr);
  // Ends MPI, which waits for the other ranks; not when an exception is on its way out, since they may never come:
  // a process that ends without takes the job down.
  ~MpiSession() override;
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const override { return rank_; }
  int num_ranks() const override { return num_ranks_; }
  // The session must outlive the transport.
  std::unique_ptr<Transport> connect(const std::vector<int>& ranks) override;

  // What each rank of this host gives, in order of rank. Collective over all ranks.
  template <typename T>
  std::vector<T> gather_on_host(const T& own) {
    static_assert(std::is_trivially_copyable_v<T>);
    std::vector<T> all;
    gather_bytes_on_host(&own, sizeof(T), [&](int num_ranks) {
      all.resize(static_cast<size_t>(num_ranks));
      return all.data();
    });
    return all;
  }

  // Ends this process and, as far as MPI can, all others.
  [[noreturn]] void abort(int exit_code);

 private:
  void gather_bytes_on_host(const void* own, int size, const std::function<void*(int num_ranks)>& room);

  Watchdog* const watchdog_;
  int rank_ = 0, num_ranks_ = 1;
};

}  // namespace trine
