#include "data/text_reader.h"

#include <cerrno>
#include <cstring>
#include <sys/stat.h>
#include <utility>
#include <zlib.h>

namespace trine {
namespace {

constexpr std::string_view kGzip = "\x1f\x8b";

struct Kind {
  std::string_view magic, name, advice;
};
constexpr std::string_view kUnpack = "Unpack it, for instance: zstdcat FILE | prepare_data -";
constexpr Kind kNoText[] = {
    {"\x28\xb5\x2f\xfd", "compressed (zstd)", kUnpack},
    {{"\xfd"
      "7zXZ\0",
      6},
     "compressed (xz)",
     "Unpack it, for instance: xzcat FILE | prepare_data -"},
    {"BZh", "compressed (bzip2)", "Unpack it, for instance: bzcat FILE | prepare_data -"},
    {"PK\x03\x04", "a zip archive", "Unpack it"},
    {"PAR1", "a Parquet table", "Write its column of text as JSON lines: {\"text\": ...} in each line"},
    {"%PDF-", "a PDF", "Take the text out of it first, for instance with pdftotext"},
};

}  // namespace

struct TextReader::Unpacker {
  z_stream stream{};
  std::string packed;     // what `stream` reads
  bool in_member = true;  // of the gzip file, which may have several one after another

  Unpacker() {
    if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) throw std::bad_alloc();
  }
  ~Unpacker() { inflateEnd(&stream); }
  Unpacker(const Unpacker&) = delete;
};

TextReader::~TextReader() = default;

TextReader::TextReader(const std::string& path, std::FILE* standard_input)
    : name_(path == "-" ? "standard input" : path), file_(nullptr, std::fclose) {
  if (path == "-") {
    file_ = {standard_input, [](std::FILE*) { return 0; }};
    return;
  }
  file_.reset(std::fopen(path.c_str(), "rb"));
  struct stat info {};
  if (file_ && ::fstat(::fileno(file_.get()), &info) == 0 && S_ISDIR(info.st_mode)) errno = EISDIR, file_.reset();
  if (!file_) throw error(fmt::format("{}. Check the path and its permissions", std::strerror(errno)));
}

void TextReader::read_raw(std::string& block) {
  block.resize(kBlockBytes);
  block.resize(std::fread(block.data(), 1, block.size(), file_.get()));
  if (std::ferror(file_.get())) throw error(fmt::format("{}. Check the disk", std::strerror(errno)));
  bytes_read_ += static_cast<int64_t>(block.size());
}

bool TextReader::read(std::string& block) {
  if (unpacker_) {
    unpack(block);
    return !block.empty();
  }
  read_raw(block);
  if (!std::exchange(at_begin_, false)) return !block.empty();
  if (block.starts_with(kGzip)) {
    unpacker_ = std::make_unique<Unpacker>();
    unpacker_->packed = std::move(block);
    unpacker_->stream.next_in = reinterpret_cast<Bytef*>(unpacker_->packed.data());
    unpacker_->stream.avail_in = static_cast<uInt>(unpacker_->packed.size());
    return read(block);
  }
  for (const Kind& kind : kNoText)
    if (block.starts_with(kind.magic))
      throw error(fmt::format("this is {}, need text, plain or in gzip. {}", kind.name, kind.advice));
  return !block.empty();
}

void TextReader::unpack(std::string& block) {
  Unpacker& u = *unpacker_;
  block.resize(kBlockBytes);
  u.stream.next_out = reinterpret_cast<Bytef*>(block.data());
  u.stream.avail_out = static_cast<uInt>(block.size());
  while (u.stream.avail_out > 0) {
    if (u.stream.avail_in == 0) {
      read_raw(u.packed);
      u.stream.next_in = reinterpret_cast<Bytef*>(u.packed.data());
      u.stream.avail_in = static_cast<uInt>(u.packed.size());
    }
    if (u.stream.avail_in == 0) {
      if (u.in_member) throw error("its compressed data ends too early. The file was cut off: fetch it again");
      break;
    }
    if (!std::exchange(u.in_member, true)) inflateReset(&u.stream);
    const int code = inflate(&u.stream, Z_NO_FLUSH);
    if (code == Z_STREAM_END)
      u.in_member = false;
    else if (code != Z_OK)
      throw error(fmt::format("its compressed data is damaged ({}). Fetch it again",
                              u.stream.msg != nullptr ? u.stream.msg : zError(code)));
  }
  block.resize(block.size() - u.stream.avail_out);
}

}  // namespace trine
