//! The loop: messages in, frames and effects out.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::Backend;

use crate::look::Look;
use crate::model::Model;
use crate::msg::{Effect, Msg};
use crate::update::update;
use crate::view::view;

/// Least time between frames that nobody has asked for by a key: 30 a second.
const FRAME: Duration = Duration::from_millis(33);

/// Where messages come from.
pub trait Source {
    /// The next message; waits for it, at most that long if a limit is given.
    fn next(&mut self, wait: Option<Duration>) -> Next;
}

/// What came of waiting.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Msg(Msg),
    /// Nothing within the limit.
    Idle,
    /// There will be no more.
    Closed,
}

/// Where effects go.
pub trait Host {
    /// Does what the model wants done, and says what came of it at once, if anything. Quitting, redrawing and the theme are
    /// the loop's own business.
    fn perform(&mut self, effect: Effect) -> Option<Msg>;

    /// Whether the terminal is ours now: nothing is drawn while the client is suspended.
    fn may_draw(&self) -> bool;
}

/// Runs until the model wants to quit, or messages end. The real program and tests differ only in the arguments.
///
/// # Errors
/// Whatever the backend says of a frame.
pub fn drive<B: Backend>(
    terminal: &mut Terminal<B>,
    source: &mut impl Source,
    host: &mut impl Host,
    model: &mut Model,
    look: &mut Look,
) -> Result<(), B::Error> {
    draw(terminal, model, look)?;
    let mut drawn = Instant::now();
    let mut urgent = false;
    loop {
        let due = match (model.dirty && host.may_draw(), urgent) {
            (false, _) => None,
            (true, true) => Some(Duration::ZERO),
            (true, false) => Some(FRAME.saturating_sub(drawn.elapsed())),
        };
        match source.next(due) {
            Next::Msg(msg) => {
                urgent |= matches!(
                    msg,
                    Msg::Key(_) | Msg::Resize(..) | Msg::Continued | Msg::Click(..) | Msg::Wheel(_) | Msg::Drag(..)
                );
                if act(terminal, host, model, look, msg)? {
                    return Ok(());
                }
                // All that waits goes into the same frame, but a flood must not keep frames from being drawn.
                if drawn.elapsed() < 3 * FRAME {
                    continue;
                }
            }
            Next::Idle => {}
            Next::Closed => return Ok(()),
        }
        if model.dirty && host.may_draw() && (urgent || drawn.elapsed() >= FRAME) {
            // A resize is noticed here before its message comes.
            let size = terminal.size()?;
            if size != model.size && act(terminal, host, model, look, Msg::Resize(size.width, size.height))? {
                return Ok(());
            }
            model.dirty = false;
            draw(terminal, model, look)?;
            urgent = false;
            drawn = Instant::now();
        }
    }
}

/// Applies a message and everything that follows from it. Returns whether that was the last one.
fn act<B: Backend>(
    terminal: &mut Terminal<B>,
    host: &mut impl Host,
    model: &mut Model,
    look: &mut Look,
    msg: Msg,
) -> Result<bool, B::Error> {
    let mut waiting = vec![msg];
    while let Some(msg) = waiting.pop() {
        for effect in update(model, msg) {
            match effect {
                Effect::Quit => return Ok(true),
                Effect::SwitchTheme => waiting.push(themed(look, None)),
                Effect::UseTheme(name) => waiting.push(themed(look, Some(&name))),
                Effect::Redraw => forget(terminal)?,
                other => waiting.extend(host.perform(other)),
            }
        }
    }
    Ok(false)
}

/// Uses a theme, or the next one, and says which.
fn themed(look: &mut Look, name: Option<&str>) -> Msg {
    let next = name.map_or_else(|| look.next(), str::to_owned);
    let problems = look.dress(&next).iter().map(ToString::to_string).collect();
    Msg::Themed { name: next, problems }
}

/// Makes the next frame draw every cell. Not `Terminal::clear`: that asks the terminal where its cursor is, and waits for an
/// answer that our own reader takes away.
fn forget<B: Backend>(terminal: &mut Terminal<B>) -> Result<(), B::Error> {
    terminal.backend_mut().clear()?;
    // Both buffers are blank afterwards: the one for the next frame always is, the other is blanked by this.
    terminal.swap_buffers();
    Ok(())
}

/// Draws one frame.
///
/// # Errors
/// Whatever the backend says.
pub fn draw<B: Backend>(terminal: &mut Terminal<B>, model: &mut Model, look: &Look) -> Result<(), B::Error> {
    terminal.draw(|frame| {
        if frame.area().as_size() == model.size {
            view(frame.buffer_mut(), model, look);
        } else {
            // Resized within the last microseconds: what was laid out does not fit. The next frame does.
            model.dirty = true;
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::colour::Depth;
    use crate::fixture;
    use ratatui::backend::TestBackend;
    use ratatui::layout::Size;
    use std::collections::VecDeque;

    /// Yields these, then closes. Counts the frames that could have been drawn meanwhile.
    struct Script(VecDeque<Next>);

    impl Source for Script {
        fn next(&mut self, wait: Option<Duration>) -> Next {
            match self.0.front() {
                Some(Next::Idle) if wait.is_some() => {
                    std::thread::sleep(wait.unwrap_or_default());
                    self.0.pop_front();
                    Next::Idle
                }
                _ => self.0.pop_front().unwrap_or(Next::Closed),
            }
        }
    }

    #[derive(Default)]
    struct Notebook {
        performed: Vec<Effect>,
        away: bool,
    }

    impl Host for Notebook {
        fn perform(&mut self, effect: Effect) -> Option<Msg> {
            match &effect {
                Effect::Suspend => self.away = true,
                Effect::TakeOver => self.away = false,
                _ => {}
            }
            self.performed.push(effect);
            None
        }

        fn may_draw(&self) -> bool {
            !self.away
        }
    }

    fn driven(script: Vec<Next>) -> (Terminal<TestBackend>, Notebook, Model) {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        let mut model = fixture::model(Size { width: 80, height: 24 });
        let mut host = Notebook::default();
        let mut look = Look::plain("dark", Depth::None, false);
        drive(&mut terminal, &mut Script(script.into()), &mut host, &mut model, &mut look).unwrap();
        (terminal, host, model)
    }

    fn key(text: &str) -> Next {
        Next::Msg(Msg::Key(text.parse().unwrap()))
    }

    fn screen(terminal: &Terminal<TestBackend>) -> String {
        terminal.backend().to_string()
    }

    #[test]
    fn keys_reach_the_screen_and_effects_the_host() {
        let (terminal, host, _) = driven(vec![key("enter"), Next::Idle, key("?"), Next::Idle]);
        assert!(screen(&terminal).contains("Move the cursor left"), "{}", screen(&terminal));
        assert!(host.performed.iter().any(|e| matches!(e, Effect::Send(_))));
    }

    #[test]
    fn quitting_ends_the_loop_before_what_follows() {
        let (_, _, model) = driven(vec![key("q"), key("n")]);
        assert_eq!(model.screen, crate::model::Screen::Runs);
    }

    #[test]
    fn themes_go_round_and_each_is_told() {
        let (terminal, host, model) = driven(vec![key("T"), Next::Idle]);
        assert_eq!(model.kept.theme.as_deref(), Some("light"));
        assert!(screen(&terminal).contains("Theme: light"), "{}", screen(&terminal));
        assert!(matches!(&host.performed[..], [.., Effect::Keep(kept)] if kept.theme.as_deref() == Some("light")));
        let all = vec![key("T"); crate::theme::SHIPPED.len()];
        let (_, _, model) = driven(all);
        assert_eq!(model.kept.theme.as_deref(), Some("dark"), "once round");
    }

    #[test]
    fn nothing_is_drawn_while_suspended() {
        let (terminal, host, model) = driven(vec![key("ctrl-z"), key("n"), Next::Idle, Next::Idle]);
        assert!(host.away && model.dirty);
        assert!(!screen(&terminal).contains("Start another run"));
        let (terminal, _, _) = driven(vec![key("ctrl-z"), key("n"), Next::Msg(Msg::Continued), Next::Idle]);
        assert!(screen(&terminal).contains("Start another run"));
    }

    #[test]
    fn redrawing_brings_every_cell_back() {
        let (terminal, _, _) = driven(vec![key("ctrl-l"), Next::Idle]);
        assert!(screen(&terminal).contains("dc-nas-digits-k3f7") && screen(&terminal).contains("kiln"));
    }

    /// Yields notes without a pause until it has yielded some after the time of four frames.
    struct Flood {
        began: Instant,
        late: u32,
    }

    impl Source for Flood {
        fn next(&mut self, _: Option<Duration>) -> Next {
            self.late += u32::from(self.began.elapsed() > 4 * FRAME);
            if self.late > 2 { Next::Closed } else { Next::Msg(Msg::Note(kiln_protocol::Level::Info, "a note".into())) }
        }
    }

    #[test]
    fn a_flood_of_messages_is_still_drawn() {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        let mut model = fixture::model(Size { width: 80, height: 24 });
        let mut look = Look::plain("dark", Depth::None, false);
        let mut flood = Flood { began: Instant::now(), late: 0 };
        drive(&mut terminal, &mut flood, &mut Notebook::default(), &mut model, &mut look).unwrap();
        assert!(screen(&terminal).contains("a note"), "{}", screen(&terminal));
    }
}
