//! A DNS server for one test, over UDP: what it is told, and for all other names NXDOMAIN.

use std::net::{Ipv4Addr, SocketAddr};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, MX, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What the server is to answer.
#[derive(Clone, Default)]
pub struct Zone(Vec<Record>);

impl Zone {
    /// A host on this machine.
    pub fn host(self, name: &str) -> Self {
        self.with(name, RData::A(A(Ipv4Addr::LOCALHOST)))
    }

    pub fn srv(self, name: &str, priority: u16, weight: u16, port: u16, target: &str) -> Self {
        self.with(name, RData::SRV(SRV::new(priority, weight, port, absolute(target))))
    }

    pub fn mx(self, domain: &str, preference: u16, host: &str) -> Self {
        self.with(domain, RData::MX(MX::new(preference, absolute(host))))
    }

    fn with(mut self, name: &str, data: RData) -> Self {
        self.0.push(Record::from_rdata(absolute(name), 60, data));
        self
    }

    fn answer(&self, question: &Message) -> Message {
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        let mut known = false;
        for query in &question.queries {
            answer.add_query(query.clone());
            for record in self.0.iter().filter(|record| record.name == query.name) {
                known = true;
                if record.record_type() == query.query_type {
                    answer.add_answer(record.clone());
                }
            }
        }
        answer.metadata.response_code = if known { ResponseCode::NoError } else { ResponseCode::NXDomain };
        answer
    }
}

fn absolute(name: &str) -> Name {
    Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).expect("a name of the test's")
}

/// Answers until it is dropped.
pub struct NameServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl NameServer {
    pub async fn start(zone: Zone) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("bound");
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..length]).expect("a question");
                let answer = zone.answer(&question).to_vec().expect("an answer");
                // Nobody may wait for it any more.
                let _ = socket.send_to(&answer, from).await;
            }
        });
        Self { address, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
