#include "comm/mpi/mpi_transport.h"

#include <algorithm>
#include <climits>
#include <string_view>
#include <thread>

#include "base/clock.h"
#include "base/error.h"

namespace trine {
namespace {

// A wait polls and yields, so that compute threads and other ranks on its core go first. It naps only when nothing
// has come for long: a nap (some 70 us) would stall the copies of a long message that need this end too.
constexpr std::chrono::milliseconds kPatience{2};
constexpr std::chrono::microseconds kNap{50};

class MpiMessage final : public Message {
 public:
  enum Kind { kSend, kReceive };

  MpiMessage(MPI_Comm communicator, size_t part_bytes, Kind kind, void* data, size_t bytes, int peer, int tag)
      : kind_(kind), bytes_(bytes), part_bytes_(part_bytes) {
    size_t begin = 0;
    do {
      const int count = static_cast<int>(std::min(part_bytes, bytes - begin));
      void* part = static_cast<std::byte*>(data) + begin;
      MPI_Request& request = parts_.emplace_back(MPI_REQUEST_NULL);
      if (kind == kSend) {
        check_mpi(MPI_Isend(part, count, MPI_BYTE, peer, tag, communicator, &request), "MPI_Isend");
      } else {
        check_mpi(MPI_Irecv(part, count, MPI_BYTE, peer, tag, communicator, &request), "MPI_Irecv");
      }
      begin += count;
    } while (begin < bytes);
  }

  // Incomplete only after an error, when the process is about to end: a receive is cancelled, a send cannot be.
  ~MpiMessage() override {
    for (MPI_Request& request : parts_) {
      if (request == MPI_REQUEST_NULL) continue;
      if (kind_ == kReceive) MPI_Cancel(&request);
      MPI_Request_free(&request);
    }
  }

  bool test() override {
    for (; num_done_ < parts_.size(); ++num_done_) {
      int done = 0;
      MPI_Status status;
      check_mpi(MPI_Test(&parts_[num_done_], &done, &status), "MPI_Test");
      if (!done) return false;
      if (kind_ == kReceive) check_size(status);
    }
    return true;
  }

  bool wait(Deadline deadline) override {
    const int64_t begin_ns = now_ns();
    while (!test()) {
      const int64_t time_ns = now_ns();
      if (deadline && std::chrono::nanoseconds(time_ns) >= deadline->time_since_epoch()) return test();
      if (std::chrono::nanoseconds(time_ns - begin_ns) < kPatience) {
        std::this_thread::yield();
      } else {
        std::this_thread::sleep_for(kNap);
      }
    }
    return true;
  }

 private:
  // MPI itself refuses only messages that are too long.
  void check_size(const MPI_Status& status) const {
    int received = 0;
    check_mpi(MPI_Get_count(&status, MPI_BYTE, &received), "MPI_Get_count");
    const size_t expected = std::min(part_bytes_, bytes_ - num_done_ * part_bytes_);
    TRINE_CHECK(static_cast<size_t>(received) == expected, "{} bytes arrived, {} expected", received, expected);
  }

  const Kind kind_;
  const size_t bytes_, part_bytes_;
  size_t num_done_ = 0;
  std::vector<MPI_Request> parts_;
};

}  // namespace

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0, error_class = MPI_ERR_OTHER;
  MPI_Error_string(code, text, &length);
  MPI_Error_class(code, &error_class);
  const std::string_view message(text, static_cast<size_t>(length));
  TRINE_CHECK(error_class != MPI_ERR_TRUNCATE, "{}: {}", call, message);
  throw PeerLostError(fmt::format("[mpi] {}: {}", call, message));
}

MpiTransport::MpiTransport(MPI_Comm communicator, size_t part_bytes)
    : communicator_(communicator), part_bytes_(part_bytes) {
  TRINE_CHECK(1 <= part_bytes && part_bytes <= INT_MAX, "parts of {} bytes", part_bytes);
  check_mpi(MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

MpiTransport::~MpiTransport() { MPI_Comm_free(&communicator_); }

std::unique_ptr<Message> MpiTransport::send(const void* data, size_t bytes, int peer, int tag) {
  // MPI only reads through this pointer.
  return std::make_unique<MpiMessage>(communicator_, part_bytes_, MpiMessage::kSend, const_cast<void*>(data), bytes,
                                      peer, tag);
}

std::unique_ptr<Message> MpiTransport::receive(void* data, size_t bytes, int peer, int tag) {
  return std::make_unique<MpiMessage>(communicator_, part_bytes_, MpiMessage::kReceive, data, bytes, peer, tag);
}

}  // namespace trine
