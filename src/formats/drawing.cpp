#include "formats/drawing.h"

#include <cairo-svg.h>

#include <memory>
#include <string_view>

#include "base/error.h"

namespace tandem {
namespace {

constexpr double kPngScale = 2;  // pixels per point

struct SurfaceDeleter {
  void operator()(cairo_surface_t* s) const { cairo_surface_destroy(s); }
};
struct ContextDeleter {
  void operator()(cairo_t* c) const { cairo_destroy(c); }
};
using SurfaceHandle = std::unique_ptr<cairo_surface_t, SurfaceDeleter>;
using ContextHandle = std::unique_ptr<cairo_t, ContextDeleter>;

cairo_status_t append_bytes(void* closure, const unsigned char* data, unsigned int length) {
  static_cast<std::string*>(closure)->append(reinterpret_cast<const char*>(data), length);
  return CAIRO_STATUS_SUCCESS;
}

// cairo names the drawing by a count of all surfaces of the process; nothing refers to it, and without it the same
// chart gives the same bytes.
std::string without_surface_id(std::string svg) {
  constexpr std::string_view kStart = " id=\"surface";
  size_t begin = svg.find(kStart);
  if (begin != std::string::npos) svg.erase(begin, svg.find('"', begin + kStart.size()) + 1 - begin);
  return svg;
}

void check_status(cairo_status_t status) {
  if (status != CAIRO_STATUS_SUCCESS) {
    throw JobError({.what = "cannot draw chart", .got = cairo_status_to_string(status)});
  }
}

}  // namespace

std::string drawing_svg(double width, double height, const std::function<void(Pen&)>& draw) {
  std::string bytes;
  SurfaceHandle surface(cairo_svg_surface_create_for_stream(append_bytes, &bytes, width, height));
  ContextHandle context(cairo_create(surface.get()));
  Pen pen(context.get());
  draw(pen);
  check_status(cairo_status(context.get()));
  context.reset();
  cairo_surface_finish(surface.get());
  check_status(cairo_surface_status(surface.get()));
  return without_surface_id(std::move(bytes));
}

std::string drawing_png(double width, double height, const std::function<void(Pen&)>& draw) {
  SurfaceHandle surface(cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(width * kPngScale),
                                                   static_cast<int>(height * kPngScale)));
  ContextHandle context(cairo_create(surface.get()));
  cairo_scale(context.get(), kPngScale, kPngScale);
  Pen pen(context.get());
  draw(pen);
  check_status(cairo_status(context.get()));
  std::string bytes;
  check_status(cairo_surface_write_to_png_stream(surface.get(), append_bytes, &bytes));
  return bytes;
}

}  // namespace tandem
