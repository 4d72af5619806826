// Pictures as their pixels, for tests of what is drawn.
#pragma once

#include <cairo.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

namespace tandem::test {

// The pixels of a PNG, as cairo reads it back.
class Picture {
 public:
  explicit Picture(const std::string& png) {
    Source source{png, 0};
    surface_.reset(cairo_image_surface_create_from_png_stream(
        [](void* closure, unsigned char* data, unsigned int length) {
          auto* s = static_cast<Source*>(closure);
          if (s->at + length > s->bytes.size()) return CAIRO_STATUS_READ_ERROR;
          std::memcpy(data, s->bytes.data() + s->at, length);
          s->at += length;
          return CAIRO_STATUS_SUCCESS;
        },
        &source));
    EXPECT_EQ(cairo_surface_status(surface_.get()), CAIRO_STATUS_SUCCESS);
  }

  int width() const { return cairo_image_surface_get_width(surface_.get()); }
  int height() const { return cairo_image_surface_get_height(surface_.get()); }
  uint32_t pixel(int x, int y) const {
    const unsigned char* row = cairo_image_surface_get_data(surface_.get()) +
                               static_cast<ptrdiff_t>(y) * cairo_image_surface_get_stride(surface_.get());
    uint32_t value = 0;
    std::memcpy(&value, row + static_cast<ptrdiff_t>(x) * 4, 4);
    return value & 0xFFFFFF;
  }
  int count(uint32_t colour) const {
    int n = 0;
    for (int y = 0; y < height(); ++y) {
      for (int x = 0; x < width(); ++x) n += pixel(x, y) == colour;
    }
    return n;
  }

 private:
  struct Source {
    const std::string& bytes;
    size_t at;
  };
  struct Destroy {
    void operator()(cairo_surface_t* s) const { cairo_surface_destroy(s); }
  };
  std::unique_ptr<cairo_surface_t, Destroy> surface_;
};

inline constexpr uint32_t kWhite = 0xFFFFFF;
inline constexpr uint32_t kBlue = 0x0072B2;  // first of the palette
inline constexpr uint32_t kVermilion = 0xD55E00;
inline constexpr uint32_t kGreen = 0x009E73;

}  // namespace tandem::test
