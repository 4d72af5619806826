// What pictures are drawn with: cairo, a few colours, and the same drawing as SVG and as PNG.
#pragma once

#include <cairo.h>

#include <array>
#include <functional>
#include <string>

namespace tandem {

// Components in 0..1.
struct Colour {
  double r, g, b;
};

// The page is opaque, so that charts read the same on light and dark screens.
inline constexpr Colour kBackground{1, 1, 1};
inline constexpr Colour kInk{0.13, 0.14, 0.16};
inline constexpr Colour kQuiet{0.40, 0.42, 0.45};
inline constexpr Colour kGrid{0.90, 0.91, 0.92};
inline constexpr Colour kAxis{0.62, 0.64, 0.67};

// Okabe and Ito's colours, told apart with every common form of colour blindness; without their yellow, which is lost
// on white.
inline constexpr auto kPalette = std::to_array<Colour>({{0.000, 0.447, 0.698},    // blue
                                                        {0.835, 0.369, 0.000},    // vermilion
                                                        {0.000, 0.620, 0.451},    // bluish green
                                                        {0.800, 0.475, 0.655},    // reddish purple
                                                        {0.902, 0.624, 0.000},    // orange
                                                        {0.337, 0.706, 0.914},    // sky blue
                                                        {0.250, 0.250, 0.250}});  // black

enum class Anchor { start, middle, end };

// cairo with the few operations that a chart needs.
class Pen {
 public:
  explicit Pen(cairo_t* context) : c_(context) {}

  void colour(const Colour& colour, double alpha = 1) {
    cairo_set_source_rgba(c_, colour.r, colour.g, colour.b, alpha);
  }
  void font(double size, bool bold = false) {
    cairo_select_font_face(c_, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(c_, size);
  }
  double text_width(const std::string& text) {
    cairo_text_extents_t extents;
    cairo_text_extents(c_, text.c_str(), &extents);
    return extents.x_advance;
  }
  void text(double x, double baseline, const std::string& text, Anchor anchor = Anchor::start) {
    if (anchor != Anchor::start) x -= text_width(text) * (anchor == Anchor::middle ? 0.5 : 1.0);
    cairo_move_to(c_, x, baseline);
    cairo_show_text(c_, text.c_str());
  }
  void line(double x0, double y0, double x1, double y1, double width) {
    cairo_set_line_width(c_, width);
    cairo_move_to(c_, x0, y0);
    cairo_line_to(c_, x1, y1);
    cairo_stroke(c_);
  }
  void box(double left, double top, double width, double height) {
    cairo_rectangle(c_, left, top, width, height);
    cairo_fill(c_);
  }
  void dot(double x, double y, double radius) {
    cairo_arc(c_, x, y, radius, 0, 6.283185307179586);
    cairo_fill(c_);
  }
  cairo_t* raw() { return c_; }

 private:
  cairo_t* c_;
};

// A picture of this size in points; the PNG has two pixels per point. The same drawing gives the same bytes. JobError
// when cairo fails (out of memory).
std::string drawing_svg(double width, double height, const std::function<void(Pen&)>& draw);
std::string drawing_png(double width, double height, const std::function<void(Pen&)>& draw);

}  // namespace tandem
