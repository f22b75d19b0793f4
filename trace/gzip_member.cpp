#include "trace/gzip_member.h"

#include <new>
#include <zlib.h>

#include "base/error.h"

namespace trine {
namespace {

constexpr int kLevel = 6, kGzip = 16 + MAX_WBITS, kMemory = 9;

std::string run(z_stream& stream, std::string_view text, int flush) {
  std::string bytes;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));  // zlib only reads it
  stream.avail_in = static_cast<uInt>(text.size());
  do {
    const size_t size = bytes.size(), room = std::max<size_t>(text.size() / 8, 4096);
    bytes.resize(size + room);
    stream.next_out = reinterpret_cast<Bytef*>(bytes.data() + size);
    stream.avail_out = static_cast<uInt>(room);
    const int code = deflate(&stream, flush);
    TRINE_CHECK(code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR, "deflate: {}", code);
    bytes.resize(bytes.size() - stream.avail_out);
  } while (stream.avail_out == 0);
  return bytes;
}

}  // namespace

struct GzipMember::State {
  z_stream stream{};
  State() {
    if (deflateInit2(&stream, kLevel, Z_DEFLATED, kGzip, kMemory, Z_DEFAULT_STRATEGY) != Z_OK)
      throw std::bad_alloc();
  }
  State(const State& other) {
    if (deflateCopy(&stream, const_cast<z_stream*>(&other.stream)) != Z_OK) throw std::bad_alloc();
  }
  ~State() { deflateEnd(&stream); }
};

GzipMember::GzipMember() : state_(std::make_unique<State>()) {}
GzipMember::GzipMember(const GzipMember& other) : state_(std::make_unique<State>(*other.state_)) {}
GzipMember& GzipMember::operator=(GzipMember&& other) noexcept = default;
GzipMember::~GzipMember() = default;

std::string GzipMember::append(std::string_view text) { return run(state_->stream, text, Z_SYNC_FLUSH); }

std::string GzipMember::end(std::string_view text) const {
  State last(*state_);
  return run(last.stream, text, Z_FINISH);
}

}  // namespace trine
