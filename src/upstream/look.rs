//! A fresh look at single messages of the selected mailbox.

use super::control::Imap;
use super::error::Result;
use super::quirks::uid_sets;
use super::rows::Want;
use super::view::View;
use crate::ids::Uid;

/// How often a mailbox is looked at while other clients remove from it.
const LOOKS: usize = 3;
/// So many commands go out at once: what is on its way fits into every socket's buffer.
const FLIGHT: usize = 8;

/// Which of `uids` (ascending) are still there, seen with a fresh look.
pub async fn live_uids(imap: &mut Imap, uids: &[Uid]) -> Result<Vec<Uid>> {
    look(imap, uids, Want::Uids).await
}

/// Which of `uids` (ascending) are in the selected mailbox and flagged \Deleted, by ascending UID.
pub async fn deleted_uids(imap: &mut Imap, uids: &[Uid]) -> Result<Vec<Uid>> {
    look(imap, uids, Want::Deleted).await
}

async fn look(imap: &mut Imap, uids: &[Uid], want: Want) -> Result<Vec<Uid>> {
    let sets = sets(uids);
    if sets.is_empty() {
        return Ok(Vec::new());
    }
    let mut view = View::default();
    for _ in 0..LOOKS {
        // How many there are is not known here, and does not matter.
        view = View { exists: u32::MAX, want, ..View::default() };
        fetch_after_noop(imap, &sets, &mut view).await?;
        // Dovecot still shows what another client has removed, and says so behind the rows only,
        // NOOP or not: then the rows are of before.
        if view.expunged == 0 {
            break;
        }
    }
    let mut live: Vec<Uid> = view.rows.iter().map(|row| row.uid).collect();
    live.sort_unstable();
    live.retain(|uid| uids.binary_search(uid).is_ok());
    live.dedup();
    Ok(live)
}

/// What to ask for: all between the first and the last in one range, or exactly these where the
/// range holds far more.
///
/// GNU imap4d may answer for another message where one is gone. That does no harm to a FETCH:
/// what was not asked for is left out.
fn sets(uids: &[Uid]) -> Vec<String> {
    let (Some(first), Some(last)) = (uids.first(), uids.last()) else { return Vec::new() };
    let span = u64::from(last.get().saturating_sub(first.get())) + 1;
    if span > uids.len() as u64 * 4 + 100 { uid_sets(uids) } else { vec![format!("{first}:{last}")] }
}

async fn fetch_after_noop(imap: &mut Imap, sets: &[String], view: &mut View) -> Result<()> {
    let wire = imap.wire();
    let items = view.want.items();
    let fetches: Vec<String> = sets.iter().map(|set| format!("UID FETCH {set} {items}")).collect();
    // NOOP is for servers that tell of removals nowhere else.
    for (at, flight) in fetches.chunks(FLIGHT).enumerate() {
        wire.check_idle()?;
        let noop = (at == 0).then_some("NOOP");
        let commands: Vec<&str> = noop.into_iter().chain(flight.iter().map(String::as_str)).collect();
        let mut tag = wire.send(&commands).await?;
        let mut outcome = Ok(());
        for command in noop.into_iter().chain(flight.iter().map(|_| "FETCH")) {
            // Read even when one before is NO, to leave the connection usable.
            let read = view.read(wire, tag, command).await.map(drop);
            outcome = outcome.and(read);
            tag = tag.wrapping_add(1);
        }
        outcome?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_apart_means_each_on_its_own() {
        let sets = |numbers: &[u32]| {
            sets(&numbers.iter().filter_map(|&number| Uid::new(number)).collect::<Vec<_>>())
        };
        assert!(sets(&[]).is_empty());
        assert_eq!(sets(&[7]), ["7:7"]);
        assert_eq!(sets(&[1, 50]), ["1:50"]);
        assert_eq!(sets(&[1, 2, 100_000]), ["1:2,100000"]);
        assert_eq!(sets(&[1, u32::MAX]), ["1,4294967295"]);
    }
}
