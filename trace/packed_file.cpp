#include "trace/packed_file.h"

#include <new>
#include <vector>
#include <zlib.h>

namespace trine {

struct PackedFile::Inflater {
  z_stream stream{};
  std::vector<char> packed = std::vector<char>(size_t{1} << 18);
  bool in_member = true;  // a file may have several, one after another

  Inflater() {
    if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
};

PackedFile::PackedFile(const std::filesystem::path& path) : file_(path) {
  if (beginning_of(path, 2) == "\x1f\x8b") inflater_ = std::make_unique<Inflater>();
}

PackedFile::~PackedFile() = default;

size_t PackedFile::read_raw(std::span<char> to) {
  const auto bytes = static_cast<size_t>(std::min(file_.size() - at_, std::ssize(to)));
  file_.read(at_, std::as_writable_bytes(to.first(bytes)));
  at_ += static_cast<int64_t>(bytes);
  return bytes;
}

size_t PackedFile::read(std::span<char> to) {
  if (!inflater_) return read_raw(to);
  z_stream& stream = inflater_->stream;
  stream.next_out = reinterpret_cast<Bytef*>(to.data());
  stream.avail_out = static_cast<uInt>(to.size());
  while (stream.avail_out == to.size()) {
    if (stream.avail_in == 0) {
      stream.next_in = reinterpret_cast<Bytef*>(inflater_->packed.data());
      stream.avail_in = static_cast<uInt>(read_raw(inflater_->packed));
    }
    if (stream.avail_in == 0) {
      if (!inflater_->in_member) break;
      throw DataError(fmt::format(
          "[file] {}: its compressed data ends too early, after {} bytes. The file was cut off: copy it again, or "
          "unpack what is there with `gzip -dc`.",
          file_.path().string(), file_.size()));
    }
    if (!inflater_->in_member) inflateReset(&stream);
    inflater_->in_member = true;
    const int code = inflate(&stream, Z_NO_FLUSH);
    if (code == Z_STREAM_END)
      inflater_->in_member = false;
    else if (code != Z_OK)
      throw DataError(fmt::format("[file] {}: its compressed data is damaged before byte {} ({}). Copy it again.",
                                  file_.path().string(), at_ - static_cast<int64_t>(stream.avail_in),
                                  stream.msg != nullptr ? stream.msg : zError(code)));
  }
  return to.size() - stream.avail_out;
}

}  // namespace trine
