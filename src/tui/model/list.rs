//! Selection and scrolling of anything with rows.

/// A selected row and the first visible one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct List {
    pub selected: usize,
    pub offset: usize,
}

impl List {
    /// Moves the selection, without wrapping round.
    pub fn step(&mut self, by: isize, len: usize) {
        self.selected = self.selected.saturating_add_signed(by).min(len.saturating_sub(1));
    }

    /// Keeps the selection among `len` rows and in a view of `height` rows.
    pub fn fit(&mut self, len: usize, height: usize) {
        self.selected = self.selected.min(len.saturating_sub(1));
        let height = height.max(1);
        self.offset = self.offset.min(len.saturating_sub(height)).min(self.selected);
        if self.selected >= self.offset + height {
            self.offset = self.selected + 1 - height;
        }
    }
}

/// The first visible line of a text; of tables wider than the page, the columns that have moved out of view on the left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scroll {
    pub top: usize,
    pub left: usize,
    /// The furthest that it goes to the right.
    pub most_left: usize,
}

impl Scroll {
    /// Moves by lines; [`Scroll::fit`] puts it right afterwards.
    pub fn step(&mut self, by: isize) {
        self.top = self.top.saturating_add_signed(by);
    }

    /// Keeps the last page full.
    pub fn fit(&mut self, len: usize, height: usize) {
        self.top = self.top.min(len.saturating_sub(height));
    }

    /// Moves sideways by columns.
    pub fn step_across(&mut self, by: isize) {
        self.left = self.left.saturating_add_signed(by).min(self.most_left);
    }

    /// Keeps the last column at the right edge.
    pub fn fit_across(&mut self, most_left: usize) {
        self.most_left = most_left;
        self.left = self.left.min(most_left);
    }
}

/// A step by rows where things come in pages: as many pages, or to either end as before.
pub fn by_pages(by: isize, page: usize) -> isize {
    const END: usize = isize::MAX as usize / 2;
    if by.unsigned_abs() >= END { by } else { by.signum() * page.max(1) as isize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selection_stays_in_view_whatever_happens() {
        let mut list = List::default();
        for (by, len, height) in
            [(3, 10, 4), (100, 10, 4), (-1, 10, 4), (0, 2, 4), (5, 0, 0), (7, 9, 1), (-100, 9, 3), (4, 9, 20)]
        {
            list.step(by, len);
            list.fit(len, height);
            assert!(list.selected < len.max(1));
            assert!(list.offset <= list.selected && list.selected < list.offset + height.max(1));
            assert!(list.offset + height <= len.max(height), "no empty rows at the end");
        }
    }

    #[test]
    fn text_does_not_scroll_past_its_end() {
        let mut scroll = Scroll::default();
        scroll.step(isize::MAX);
        scroll.fit(100, 20);
        assert_eq!(scroll.top, 80);
        scroll.step(-200);
        scroll.fit(100, 20);
        assert_eq!(scroll.top, 0);
        scroll.step(5);
        scroll.fit(3, 20);
        assert_eq!(scroll.top, 0);
    }
}
